"""What an image may cost, and the codes of the errors that say so (OpenAI's, of its Responses API)."""

from __future__ import annotations

from typing import Final

MAX_IMAGES: Final = 16
"""In one request."""
MAX_IMAGE_BYTES: Final = 20 * 1024 * 1024
"""Of one image as it comes."""
MAX_PIXELS: Final = 40_000_000
"""Of one image, told by its header before anything is decoded: 120 MB as RGB."""
MAX_SENT_BYTES: Final = 24 * 1024 * 1024
"""Of all images of a request, as engines are told them: they stand in the job."""
MAX_SIDE: Final = 2048
"""Of an image as engines are told it, as at OpenAI; a larger one is made smaller."""
LOW_SIDE: Final = 512
"""With `detail` `low`."""
IMAGE_TOKENS: Final = 1024
"""What an image counts where nobody asks the model: fairness in the queue, and how much of a thread fits. Most models
take 64 to 1024 tokens for one; what it really was is in `usage`."""

BROKEN: Final = "image_parse_error"
EMPTY: Final = "empty_image_file"
NO_BASE64: Final = "invalid_base64_image"
NOT_FETCHED: Final = "failed_to_download_image"
NOT_FOUND: Final = "image_file_not_found"
TOO_LARGE: Final = "image_too_large"
TOO_MANY: Final = "too_many_images"
TOO_MANY_BYTES: Final = "image_file_too_large"
UNKNOWN_FORMAT: Final = "invalid_image_format"
WRONG_URL: Final = "invalid_image_url"
