"""Files on a disk, read and checked: hashes, YAML, safetensors, model folders. Imports errors alone."""
