"""`interceptor demo`: a real application, real traffic, real SIGKILLs, and an account of what the clients saw."""
