"""The rules that decide the claims, by what they are about."""
