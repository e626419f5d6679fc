"""What a bundle is made of and where it comes from, in the forms that others read."""

from edgekit._describe.bill_of_materials import bill_of_materials
from edgekit._describe.provenance import provenance

__all__ = ["bill_of_materials", "provenance"]
