"""What the network is shown: random views of samples, made on the device, a batch at a time.

`View` is the recipe of a crop of pictures with its distortions, `ClipView` of the frames of clips, `SoundView` of their
sound; `make_views` makes all views of a batch, `plain_view` the undistorted one that features are measured on.
"""

from semblance.views.clip import ClipView
from semblance.views.sound import SoundView
from semblance.views.view import AnyView, View, make_views, normalise, plain_view

__all__ = ["AnyView", "ClipView", "SoundView", "View", "make_views", "normalise", "plain_view"]
