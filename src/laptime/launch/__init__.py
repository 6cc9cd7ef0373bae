"""How commands are started that train: on this machine, with the recorder in them."""
