"""One weight -> its rows, and many weights side by side."""
