"""Networks for others: what timm, torchvision and onnxruntime load, each proved by loading it as they do."""
