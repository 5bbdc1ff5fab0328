"""The one place where stored codes become weights, for checkpoint files and for live modules.

`unpack_stored` is the only way in. It asks each layout of `layouts.LAYOUTS` which tensors it recognises. A layout
claims a matrix together with its companions (scales, zero points, indices), which are never rows of their own, and
decodes the matrix row by row, so that memory stays bounded. Whatever no layout claims is marked by `mark`: codes are
refused with their reason and never decomposed as if they were weights. A new layout is one file here and one entry in
`layouts.py`.
"""
