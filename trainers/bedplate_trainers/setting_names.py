"""Setting names that other programs use for fine-tuning, and what Bedplate says when it meets them.

Nothing is silently ignored: a name is known, or renamed (the hint gives our name), or refused with the reason.
"""

from __future__ import annotations

__all__ = ["RENAMED", "RENAMED_METRICS", "UNSUPPORTED"]

_BY_COLUMN_MAP = "columns are mapped with --map, for example --map sentence1=text --map label=intent"
_BY_DEVICE = "the device is chosen with --device and --gpus"
_BY_ROWS = "rows without an answer are learned as such, and the threshold for it is tuned on the validation rows"
_DEAD = "it never had an effect where it comes from; a test-set report is part of every fine-tune here"

# Another program's name -> what to write instead.
RENAMED: dict[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "evaluation_steps_interval": "eval_steps (a number below 1 is a part of the whole training)",
    "full_determinism": "enable_full_determinism",
    "gradient_checkpointing": "activation_checkpointing",
    "warmup_ratio": "warmup_steps (a number below 1 is a part of all steps)",
    "fp16": "precision=fp16",
    "bf16": "precision=bf16",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "label_smoothing": "label_smoothing_factor",
    "max_length": "max_seq_length",
    "max_answer_length_in_tokens": "max_answer_length",
    "max_answer_len": "max_answer_length",
    "max_seq_len": "max_seq_length",
    "n_best": "n_best_size",
    "patience": "early_stopping_patience",
    "apply_early_stopping": "early_stopping_patience (0 switches it off)",
    "data_seed": "seed",
    "predict_with_generate": "eval_generate_rows (0: the loss alone)",
    "generation_num_beams": "num_beams",
    "generation_max_length": "max_target_length",
    "val_max_target_length": "max_target_length",
    "max_input_length": "max_source_length",
    "max_new_tokens": "max_target_length",
    "src_lang": "source_lang",
    "tgt_lang": "target_lang",
    "summarization_lang": "source_lang",
    "forced_bos_token": "target_lang",
    "use_lora": "apply_lora",
    "lora_rank": "lora_r",
    "r": "lora_r",
    "target_modules": "lora_target_modules",
    "use_flash_attention_2": "attn_implementation=flash_attention_2",
    "apply_deepspeed": "deepspeed_stage=2",
    "zero_stage": "deepspeed_stage",
}

# Another program's name -> why there is none here.
UNSUPPORTED: dict[str, str] = {
    "lora_algo": "LoRA is the one way of adapters here",
    "load_in_8bit": "frozen weights are kept in 4 bits (load_in_4bit=true) or whole",
    "deepspeed": "the configuration of DeepSpeed is written for you; choose its stage with deepspeed_stage",
    "fsdp_config": "the configuration of FSDP is written for you: fsdp=true",
    "torch_compile_backend": "torch_compile=true takes torch's own backend, inductor",
    "apply_ort": "ONNX Runtime training is not used: PyTorch trains",
    "auto_find_batch_size": "it comes with a later release; give a smaller per_device_train_batch_size",
    "pad_to_max_length": "batches are padded to their own longest row, which gives the same result faster",
    "batch_size": "rows are tokenized once, up front; the training batch is per_device_train_batch_size",
    "dataloader_num_workers": "rows are tokenized once, up front, so there is no loading to spread over processes",
    "eval_accumulation_steps": "the scores of a classifier are small and stay where they are",
    "logging_strategy": "figures are logged every logging_steps",
    "save_strategy": "a checkpoint is written at each evaluation, and every save_steps between them",
    "resume_from_checkpoint": "a job that died is resumed by itself; one that was stopped by: bedplate jobs resume ID",
    "evaluation_config": _DEAD,
    "evaluation_config_params": _DEAD,
    "compute_model_evaluation": _DEAD,
    "instance_type_model_evaluation": _DEAD,
    "instance_type_model_import": _BY_DEVICE,
    "instance_type_preprocess": _BY_DEVICE,
    "instance_type_finetune": _BY_DEVICE,
    "compute_model_import": _BY_DEVICE,
    "compute_preprocess": _BY_DEVICE,
    "compute_finetune": _BY_DEVICE,
    "shm_size_finetune": _BY_DEVICE,
    "num_nodes_finetune": "a server trains on its own machine; docs/fine-tuning.md says how several train one model",
    "number_of_gpu_to_use_finetuning": "the number of GPUs is given with --gpus",
    "use_cpu": _BY_DEVICE,
    "no_cuda": _BY_DEVICE,
    "huggingface_id": "the model is the first argument: bedplate finetune REF",
    "pytorch_model_path": "a folder on disk is imported first: bedplate import --from DIR --name NAME",
    "mlflow_model_path": "a folder on disk is imported first: bedplate import --from DIR --name NAME",
    "train_file_path": "the training data is given with --train",
    "validation_file_path": "the validation data is given with --validation",
    "test_file_path": "the test data is given with --test",
    "train_mltable_path": "the training data is given with --train",
    "validation_mltable_path": "the validation data is given with --validation",
    "test_mltable_path": "the test data is given with --test",
    "task_name": "the task is given with --task",
    "sentence1_key": _BY_COLUMN_MAP,
    "sentence2_key": _BY_COLUMN_MAP,
    "label_key": _BY_COLUMN_MAP,
    "question_key": _BY_COLUMN_MAP,
    "context_key": _BY_COLUMN_MAP,
    "answers_key": _BY_COLUMN_MAP,
    "answer_start_key": _BY_COLUMN_MAP,
    "answer_text_key": _BY_COLUMN_MAP,
    "version_2_with_negative": _BY_ROWS,
    "handle_impossible_answer": _BY_ROWS,
    "null_score_diff_threshold": _BY_ROWS,
    "document_key": _BY_COLUMN_MAP,
    "summary_key": _BY_COLUMN_MAP,
    "trust_remote_code": "Python files of a model are never run",
    "output_dir": "the result goes to the registry, under the name given with --output",
    "report_to": "metrics are kept with the job: bedplate jobs show ID",
    "group_by_length": "batches are always grouped by length",
}

# Metric names of other programs -> ours.
RENAMED_METRICS: dict[str, str] = {
    "f1_macro": "f1_score_macro",
    "f1": "f1_score_macro",
    "exact": "exact_match",
    "mcc": "matthews_correlation",
    "precision_macro": "precision_score_macro",
    "recall_macro": "recall_score_macro",
    "eval_loss": "loss",
}
