optagent import old_model --as pumps       # or models:/pumps/3, or runs:/ID/path
optagent versions pumps
