"""``python -m fusionkit.doctor`` is ``fusionkit doctor``, for where not even the command line can be imported."""

import sys

from fusionkit.doctor.telling import tell

sys.exit(tell(as_json="--json" in sys.argv[1:]))
