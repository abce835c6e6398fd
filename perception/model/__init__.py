"""The network. network.py shows the whole forward pass; every folder here holds interchangeable parts, one a file."""
