optagent tune pumps --trials 6
