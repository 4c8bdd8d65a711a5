"""The zoo: documented mistakes of real implementations, each as a few lines of code."""
