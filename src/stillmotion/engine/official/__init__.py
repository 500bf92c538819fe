"""The published single files of LTX-2 19B and LTX-2.3 22B, read into diffusers' networks.

    header.py        what a safetensors file says of its tensors, checked before anything is read
    renames.py       the published names and diffusers' names for the same tensors, as a table
    placement.py     which tensor of a file goes where; which generation a file is of
    facts.py         shapes and metadata, asked by name
    *_config.py      each network's configuration, from shapes first and metadata second
    verify.py        what is wrong with a bundle's files, told without loading them
    networks.py      the networks without weights, matched with the file both ways
    weights.py       tensors from the file straight into their final place

All but the last two are free of torch.
"""
