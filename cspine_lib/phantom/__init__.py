"""Simulated cervical spine CT in the layout of the RSNA 2022 data set.

``plan`` says what one study is to be, ``draw`` turns a plan into HU, mask and
boxes; the anatomy, fractures, look-alikes and the scanner each have a module.
"""
