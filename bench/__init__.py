"""Measurements (side: library): what the product costs, in figures that anybody can reproduce."""
