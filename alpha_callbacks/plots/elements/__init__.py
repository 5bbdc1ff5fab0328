"""What charts are made of: text, colours, axes, panels."""
