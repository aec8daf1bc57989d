"""Starting with weights that others have trained: files of any layout, and names of timm and torchvision."""
