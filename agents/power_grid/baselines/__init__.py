"""What a learned agent must beat: rules, look-ahead, and a policy-gradient agent of others."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
