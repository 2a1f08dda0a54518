"""The Segment Anything Model: image encoder, prompt encoder and mask decoder under the published names.

Shapes: B images, S side of the square input in pixels, N prompts over all images, P points a prompt,
C = 256 channels, (H, W) side of the image embedding, M masks a prompt.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import SamConfig
from model.encoder_configs import check_registered
from model.encoders import EMBED_DIM, EMBEDDING_STRIDE, ImageEmbedding, ImageEncoder
from model.folded_decoder import FoldedDecoder
from model.folded_image import SharedImage
from model.hq_mask_decoder import HqMaskDecoder
from model.mask_decoder import MaskDecoder, MaskPrediction
from model.prompt_encoder import PromptEncoder
from model.promptable import DecodedMasks, PromptedMasks
from model.published import predict_batch
from model.sam2_mask_decoder import Sam2MaskDecoder
from model.sam2_prompt_encoder import Sam2PromptEncoder
from model.transformer import TwoWayTransformer
from schemas.errors import InputError

_MOST_MASKS = 3  # of a prompt


class Sam(nn.Module):
    """Encode images once, then decode any number of prompts on them."""

    mask_threshold: float = 0.0
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: SamConfig) -> None:
        """Raises InputError where the encoder is registered under no name, since no saved model could name it.

        So it does where the decoder fuses early features and the encoder has none.
        """
        super().__init__()
        self.config = config
        check_registered(config.encoder)
        self.image_encoder = config.encoder.build()
        self.image_size: int = self.image_encoder.img_size
        side = self.image_size // EMBEDDING_STRIDE
        self.prompt_encoder = (Sam2PromptEncoder if config.decoder == "sam2" else PromptEncoder)(
            embed_dim=EMBED_DIM,
            image_embedding_size=(side, side),
            input_image_size=(self.image_size, self.image_size),
            mask_in_chans=16,
        )
        self.mask_decoder = _make_decoder(config, self.image_encoder)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(-1, 1, 1), persistent=False)

    @property
    def stretched(self) -> bool:
        """Whether pictures are stretched to the square that the encoder sees, rather than padded."""
        return self.config.stretched

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def pad_rgb(self) -> tuple[int, int, int]:
        """The colour that `preprocess` pads with, nearest in 8 bits: it is zero once normalised."""
        red, green, blue = (round(value) for value in self.config.pixel_mean)
        return red, green, blue

    def set_input_size(self, side_px: int) -> None:
        """Train or run a convolutional encoder at another input side; its weights do not depend on it.

        Raises ValueError for encoders with learned positions, or a side that is no multiple of what the encoder needs.
        """
        multiple = self.image_encoder.side_multiple_px
        if multiple is None:
            raise ValueError("only models with a convolutional image encoder can change their input size")
        if side_px % multiple:
            raise ValueError(f"input size {side_px} px is not a multiple of {multiple}")
        grid = (side_px // EMBEDDING_STRIDE, side_px // EMBEDDING_STRIDE)
        self.image_size = self.image_encoder.img_size = side_px
        self.prompt_encoder.input_image_size = (side_px, side_px)
        self.prompt_encoder.image_embedding_size = grid
        self.prompt_encoder.mask_input_size = (4 * grid[0], 4 * grid[1])

    def preprocess(self, images: Tensor) -> Tensor:
        """images: (B, 3, h, w) RGB in 0..255, longest side S. Returns (B, 3, S, S), normalised, zeros on padding."""
        normalised = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        height, width = images.shape[-2:]
        return F.pad(normalised, (0, self.image_size - width, 0, self.image_size - height))

    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """pixels: (B, 3, S, S), normalised, as `preprocess` returns them."""
        encoded: ImageEmbedding = self.image_encoder(pixels)
        side = self.image_size // EMBEDDING_STRIDE
        if encoded.features.shape[1:] != (EMBED_DIM, side, side):
            found, expected = tuple(encoded.features.shape[1:]), (EMBED_DIM, side, side)
            raise ValueError(f"{type(self.image_encoder).__name__}: expected features {expected}, found {found}")
        return ImageEmbedding(encoded.features, self.mask_decoder.share(encoded))

    def forward(self, batched_input: Sequence[dict[str, Any]], multimask_output: bool) -> list[dict[str, Tensor]]:
        """As the published model's call; see `model.published.predict_batch`."""
        return predict_batch(self, batched_input, multimask_output=multimask_output)

    def decode(
        self,
        embedding: ImageEmbedding,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        image_index: Tensor | None = None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """Predict masks for N prompts; any of points, boxes and masks may be given together.

        points: coordinates (N, P, 2) as (x, y) in input pixels and labels (N, P): 1 foreground, 0 background,
            -1 padding. boxes: (N, 4) XYXY in input pixels. masks: (N, 1, 4H, 4W) logits of an earlier prediction.
        image_index: (N,), the image of each prompt; may be left out where B is 1.
        Returns logits (N, M, 4H, 4W) and predicted IoU (N, M); M = 3 with multimask output, else 1.
        """
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        return self.decode_tokens(embedding, sparse, dense, image_index=image_index, multimask_output=multimask_output)

    def decode_tokens(
        self,
        embedding: ImageEmbedding,
        sparse: Tensor,
        dense: Tensor,
        *,
        image_index: Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """As `decode`, from prompts that are already encoded: sparse (N, T, C), dense (N, C, H, W).

        dense may be (1, C, H, W), the same for all prompts.
        """
        return self.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            image_index=image_index,
            high_res=embedding.high_res,
        )

    def precompute(
        self,
        embedding: ImageEmbedding,
        *,
        dtype: torch.dtype = torch.float32,
        shown_hw: tuple[int, int] | None = None,
    ) -> SharedImage:
        """What all prompts on one image (B = 1) share; `prompt` takes it. dtype: of what is computed for each pixel.

        shown_hw: size in pixels of the part of the input that shows the picture; only logits that the way to its pixels
        reads are then made, for masks that are not to be prompts again. None: all.
        """
        margin = 1 if self.mask_decoder.mixes_neighbours else 0
        used_hw = shown_hw and _embedding_hw(shown_hw, side=embedding.features.shape[-1], margin=margin)
        image = embedding.features + self.prompt_encoder.embed_masks(None, 1)
        decoder = FoldedDecoder(self.mask_decoder, dtype=dtype)
        place, mask_rows = self.prompt_encoder.get_dense_pe(), self.prompt_encoder.mask_rows()
        return decoder.precompute(image, place, mask_rows, embedding.high_res, used_hw=used_hw)

    def prompt(
        self,
        image: SharedImage,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask_output: bool,
    ) -> PromptedMasks:
        """As `decode`, up to rounding, and many times faster for many prompts on one image.

        The predicted IoUs are there at once; logits are made when they are asked for.
        """
        encoder = self.prompt_encoder
        sparse = encoder.embed_sparse(points, boxes, encoder.count(points, boxes, masks))
        factors = None if masks is None else encoder.mask_factors(masks)
        prompted = FoldedDecoder(self.mask_decoder, dtype=image.dtype).prompt(
            image, sparse, factors, multimask_output=multimask_output
        )
        return self._settled(prompted) if prompted.predicted_iou.shape[1] > _MOST_MASKS else prompted

    def _settled(self, prompted: PromptedMasks) -> DecodedMasks:
        """Where the decoder picks the answer by all of its masks (SAM 2's single one)."""
        predicted_iou = prompted.predicted_iou
        logits = prompted.logits(torch.arange(predicted_iou.numel(), device=predicted_iou.device))
        answer = self.mask_decoder.settled(MaskPrediction(logits.unflatten(0, predicted_iou.shape), predicted_iou))
        return DecodedMasks(answer.predicted_iou, answer.logits)


def _make_decoder(config: SamConfig, encoder: ImageEncoder) -> MaskDecoder:
    transformer = TwoWayTransformer(
        depth=config.decoder_depth,
        embedding_dim=EMBED_DIM,
        num_heads=8,
        mlp_dim=config.decoder_mlp_dim,
        dropout=config.dropout,
    )
    if config.decoder != "sam_hq":
        high_res_chans = encoder.high_res_chans if config.high_res_features else None
        kind = MaskDecoder if config.decoder == "sam" else Sam2MaskDecoder
        return kind(transformer_dim=EMBED_DIM, transformer=transformer, high_res_chans=high_res_chans)
    if encoder.early_chans is None:
        raise InputError(
            f"decoder {config.decoder}: fuses early features, and the image encoder {config.encoder.kind} has none; "
            "use it with vit or tiny_vit"
        )
    return HqMaskDecoder(
        transformer_dim=EMBED_DIM,
        transformer=transformer,
        early_chans=encoder.early_chans,
        token_only=config.hq_token_only,
    )


def _embedding_hw(shown_hw: tuple[int, int], *, side: int, margin: int = 0) -> tuple[int, int]:
    """Rows and columns of the embedding, of `side` each, that bilinear upscaling of the logits reads for these pixels.

    A logit is four pixels wide. The last of n pixels lies (n - 2.5) / 4 logits behind the first logit's centre, between
    two of which the second is number (n + 1) // 4; each pixel of the embedding has four. margin: more pixels of it.
    """
    height, width = (min(side, (pixels + 1) // EMBEDDING_STRIDE + 1 + margin) for pixels in shown_hw)
    return height, width


def build_sam(config: SamConfig) -> Sam:
    """A model of this architecture with random weights, ready for inference."""
    if config.remembers is None:
        return Sam(config).eval()
    from model.remembering import RememberingSam  # which is built of this

    return RememberingSam(config).eval()
