"""Pages that open offline from disk: one HTML file with its data, its scripts and plotly's script inside."""
