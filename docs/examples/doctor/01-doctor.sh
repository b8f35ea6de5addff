optagent doctor
