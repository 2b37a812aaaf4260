"""The paper's evaluations on image files in their published folder layouts, one module each."""
