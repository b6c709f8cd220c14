"""How right the answers are: measured on labelled pictures, by the service's own pipeline. Not part of a bento."""
