"""What this workstation has and lacks: the parts a build leans on that are not jetsonx's own."""
