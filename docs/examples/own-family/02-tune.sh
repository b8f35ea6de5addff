export PYTHONPATH=.            # so that optagent, and the workers of the search, can import the module
optagent register model.yaml
optagent tune parts --trials 6
optagent versions parts
