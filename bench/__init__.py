"""Measurements (side: owner): what the product costs, in figures that anybody can reproduce."""
