"""Setting names that other programs use for fine-tuning, and what Bedplate says when it meets them.

Nothing is silently ignored: a name is known, or renamed (the hint gives our name), or refused with the reason.
"""

from __future__ import annotations

__all__ = ["RENAMED", "RENAMED_METRICS", "UNSUPPORTED"]

_BY_COLUMN_MAP = "columns are mapped with --map, for example --map sentence1=text --map label=intent"
_BY_DEVICE = "the device is chosen with --device and --gpus"
_NO_LORA = "adapters come with a later release: this one trains all weights"
_NO_DEEPSPEED = "DeepSpeed comes with a later release"
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
    "patience": "early_stopping_patience",
    "apply_early_stopping": "early_stopping_patience (0 switches it off)",
    "data_seed": "seed",
}

# Another program's name -> why there is none here.
UNSUPPORTED: dict[str, str] = {
    "apply_lora": _NO_LORA,
    "merge_lora_weights": _NO_LORA,
    "lora_alpha": _NO_LORA,
    "lora_r": _NO_LORA,
    "lora_dropout": _NO_LORA,
    "lora_algo": _NO_LORA,
    "lora_target_modules": _NO_LORA,
    "apply_deepspeed": _NO_DEEPSPEED,
    "deepspeed": _NO_DEEPSPEED,
    "deepspeed_stage": _NO_DEEPSPEED,
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
    "num_nodes_finetune": "several machines come with a later release",
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
    "trust_remote_code": "Python files of a model are never run",
    "output_dir": "the result goes to the registry, under the name given with --output",
    "report_to": "metrics are kept with the job: bedplate jobs show ID",
    "group_by_length": "batches are always grouped by length",
}

# Metric names of other programs -> ours.
RENAMED_METRICS: dict[str, str] = {
    "f1_macro": "f1_score_macro",
    "f1": "f1_score_macro",
    "mcc": "matthews_correlation",
    "precision_macro": "precision_score_macro",
    "recall_macro": "recall_score_macro",
    "eval_loss": "loss",
}
