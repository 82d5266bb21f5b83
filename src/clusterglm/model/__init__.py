"""What can be fitted, as plain descriptions: responses, random-effect distributions, quadrature and control."""
