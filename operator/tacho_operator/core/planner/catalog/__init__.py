"""What tacho knows beforehand, as data files beside the code that looks things up in them."""
