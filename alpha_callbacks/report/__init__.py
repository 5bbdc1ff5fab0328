"""report.html: one page that opens from disk, with everything that a scan found."""
