"""Find and localise cervical spine fractures in CT.

The package is thin on purpose: each module has one duty and imports only from
lower floors (see README.md).  Importing the package imports neither torch nor
timm; the modules that train or run a network do, when they are asked to.
"""

__version__ = "0.2.0"
