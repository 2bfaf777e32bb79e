"""What files of coldstart's own formats must hold, checked once, where they are opened."""
