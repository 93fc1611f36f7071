"""Write a trained generator as one self-describing file for frameworks without Python."""
