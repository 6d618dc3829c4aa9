"""Where responses come from: atlases, label files, volumes and surfaces to regions, cleaning."""
