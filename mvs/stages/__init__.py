"""The stages of the reconstruction: one plain function each, `f(data, options) -> data`."""
