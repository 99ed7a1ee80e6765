"""A fleet whose devices are reached over Modbus: what of a model its registers steer, and how it is commanded and told.

- `model`: what a model must offer; `steering`, `registered`: its registers steer it, and show what it does.
- `lockstep`: commands and polls devices once a step, whoever answers (`counterpart`); `told`: ports as devices have
  them.
- `emulated`, `behind_modbus`: the model is what answers. `served`: clients from outside command it.
"""
