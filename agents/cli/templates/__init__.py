"""Files of the package that `twinloop instrument new` writes; read by `new_package`."""
