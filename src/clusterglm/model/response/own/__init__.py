"""Responses with parameters of their own, one file each; `base.py` says what there is to say of one."""
