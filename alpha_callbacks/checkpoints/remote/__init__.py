"""Checkpoints that stay where they are: headers, then tensor after tensor, by HTTP range requests.

`open_remote` is the way in. `link` sends requests through huggingface_hub's session and waits where a server asks for
it; `remote_file` reads ranges of one file and notices when it changes, `remote_path` is that file in place of a path;
`remote_model` finds the files of a model.
"""
