"""What a device runs beside a model to watch it (`device/`, copied there), and what the host reads of it."""
