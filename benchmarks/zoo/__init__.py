"""Tiny random models of every architecture of transformers: does a scan list what the live model lists?"""
