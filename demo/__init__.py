"""How the demo checkpoint that ships with Ossia is made: data, training, packing, evaluation."""
