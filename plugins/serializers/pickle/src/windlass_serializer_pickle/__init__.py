"""Python objects as pickles, large buffers out of band."""
