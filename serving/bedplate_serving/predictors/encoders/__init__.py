"""How an encoder reads: texts packed or padded, on ONNX Runtime or torch, long ones in windows."""
