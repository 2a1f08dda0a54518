"""The `engine.yaml` of a new workspace: all settings with their defaults, explained."""

DEFAULT_YAML = """\
# sam-data-engine: settings of this workspace. Every key may be left out; what stands here are the defaults.

seed: 0                       # everything random follows from it

images:
  shard_size: 1000            # images per shard: the unit of work, of retry and of commit
  copy_images: true           # false: leave the files where they are and remember their paths
  max_megapixels: 500         # larger pictures are rejected
  holdout_frac: 0.1           # share of the images with ground truth that is kept for measuring, never for training
  bit_depth: null             # of values in samples of more than 8 bits, such as 12; null: told by the largest value
  country_from_gps: false     # true: keep the country (and nothing else) of the place in a photo's EXIF, which releases
                              # then tell; pip install "sam-data-engine[geography]"

model:
  start: nano                 # the model of the first round: nano, or any name that `sam-engine models list` shows
  device: auto                # auto, cpu, cuda, cuda:1 or mps

annotator:
  kind: simulated             # clicks from imported ground truth; every row it writes says "simulated"
                              # label_studio: people; see the section `labeling`; or another tool that is installed.
                              # What follows is of the simulated annotator
  max_clicks: 6               # then the mask is finished by hand, with the brush
  accept_iou: 0.85            # a mask at least this close to ground truth is accepted; prefilled ones of people too
  seconds_to_find: 3.0        # simulated seconds to find the next object ...
  seconds_per_click: 1.5      # ... for each click ...
  seconds_to_review: 1.5      # ... to look at a finished or prefilled mask ...
  seconds_to_draw: 15.0       # ... and to finish one with the brush
  seconds_per_mask_limit: 30.0  # once a mask took longer, the annotator goes to the next image (SAM paper, section 4)

labeling:                     # Label Studio, where annotator.kind is label_studio
  url: http://127.0.0.1:8080  # sam-engine labeling server starts one here
  backend_url: http://127.0.0.1:9090  # where sam-engine labeling serve listens, as Label Studio sees it
  pictures_url: null          # where Label Studio runs on another machine: http(s)://HOST:PORT at which browsers reach
                              # sam-engine labeling serve, which then hands out pictures by signed links ...
  links_days: 30              # ... that are good for so long; ticks make new ones in time
  longest_side_px: 1024       # pictures are scaled down to this for the browser, masks scaled back
  images_per_chunk: 25        # pictures in one import
  done_frac: 1.0              # share of a round's images that must be annotated or skipped before the round is closed
  embeddings_in_memory: 16    # images whose embedding is kept in memory, so that a click costs the decoder only ...
  embeddings_on_disk_mb: 4096 # ... and on disk
  verify_frac: 0.05           # share of a round's masks, or images, that a gate asks about
  verifier_precision: 0.95    # of the answers that a verifier gives in people's place, once it has 200 of earlier gates
                              # to learn from; null: people answer all
  audit_images: 50            # images of an audit (SAM paper, section 5: 500)
  overlap_frac: 0.0           # share of a round's images that two people annotate: how far they agree is in the report

gates:                        # passed before a round that people annotated is learned from: off, sample (as much as
                              # labeling.verify_frac) or all; sam-engine labeling setup --gates makes their projects
  verification: "off"         # is this mask good? Rejected masks go, images with bad ones go back to annotators
  exhaustivity: "off"         # does every object have a mask? Images where one is missing go back

assisted_manual:
  rounds: 6                   # the paper's number; each ends with a retraining
  images_per_round: 20000     # at most; where there are fewer images they are shared out over the rounds

semi_automatic:
  rounds: 5
  images_per_round: 36000
  max_prefilled_masks: 40     # confident masks shown to the annotator, most confident first
  prefill: detector           # trained on the masks so far, its boxes prompt the model; or generator: its best masks;
                              # grounding_dino: the boxes of what phrases say, with these as labels; or one that an
                              # installed package adds
  phrases: null               # of grounding_dino: {look_for: [car, tree], weights: FOLDER} (docs/text.md)
  prefill_precision: 0.8      # share of the detector's masks that can surely be kept (at annotator.accept_iou), told
                              # from held-out images, which sets its threshold; out of reach: half of them, or none
  generator_preset: nano      # fits the model that ships; library-default and paper-sa1b are the published settings
  generator: {}               # single settings of the preset to replace, for example {points_per_side: 16}

fully_automatic:
  generator_preset: nano      # with published weights: paper-sa1b, which looks at 20 crops besides
  generator: {}
  precision: null             # share of masks that show an object of the held-out ground truth (at IoU 0.5): it sets
                              # pred_iou_thresh, and wants ground truth that shows everything. null: the preset's value

stages: {}                    # further stages, which installed packages bring, each with its options:
                              # {detector_boxes: {boxes: boxes.json}}; without a package there are none

retraining:
  preset: retrain             # a short schedule; sam-default and sam-amg are the paper's long ones, for its ViTs
  selection: accumulated      # masks to train on: all so far, or new_only (what the last round brought)
  oversampling: {assisted_manual: 10, semi_automatic: 10}  # people's masks weigh most (SAM paper, figure 13)
  hard_weight: 1              # how often a picture comes of which all masks were hard: they took people long for their
                              # round, or came in place of what a gate rejected; 1: as often as any other
  steps: null                 # null: what the preset says (retrain: 40 to 3000, by the number of images)
  masks_per_image: null       # of a step; null: what the preset says, as below
  lr: null                    # learning rate of the mask decoder; retrain: the image encoder's is half of that, or with
                              # caution 0 four times (of a ViT a quarter)
  min_mask_frac: null         # masks under this share of the model's input are not learned from; the report counts them
  max_bad_frac: 0.1           # pictures that cannot be read are skipped, up to this share of all
  remember: true              # where the start model does not know such pictures (of models that have a file
                              # known_pictures.safetensors, as nano does), the new one keeps it inside, for all others
  replay: null                # COCO json of pictures that keep old knowledge; null: the set beside the start model
  replay_frac: 0.4            # share of the pictures of a step that come from there, where it is not kept; 0: none
  caution: 1                  # how much less weights move on which known things rest (of models that have a file
                              # importance.safetensors, as nano does); 0: all move alike
  averaging: true             # go no further from the start model than old knowledge is kept and new things gain

flow:
  shards_per_task: 50         # shards in one Prefect task
  retries: 2                  # of a task
  runner: local               # ray: the same workers as actors on a Ray cluster (pip install -e '.[ray]')
  ray_actors: null            # null: one a GPU of the cluster
  approve: []                 # before what a person has to say yes, in Prefect's page or by sam-engine approve: stages,
                              # such as fully_automatic, and release
  concurrency_limit: null     # a limit of Prefect's server, such as gpu, of which the long steps of a flow take a slot
  training: in_process        # process: rounds are retrained in processes of their own, by accelerate launch ...
  training_processes: null    # ... so many, which share each step; null: one a GPU of the machine, or one

release:
  images_per_tar: 1000
  shortest_side_px: 1500      # larger pictures are scaled down to this, as SA-1B was
  jpeg_quality: 95
  masks:                      # a mask is released if it passes every line; people's masks have no scores and pass those
    origins: null             # null: all; or a list of manual, automatic, automatic_corrected
    min_predicted_iou: 0      # 0 leaves no mask out, nor one whose predicted IoU came out below 0
    min_stability_score: 0
    min_area_frac: 0          # share of the picture
    verified: false           # true: only masks that were judged good at a verification gate, by people or the verifier
  splits: null                # null: all pictures; [train]: without those that models are measured on, or [holdout]
  withheld_frac: 0            # share of the pictures that come into no release but those of release build --withheld
  withheld_seed: 0
  blur: true                  # false: faces and licence plates stay as they are, and the release says so
  blur_detectors: [faces, plates]  # what is looked for; an installed package may add others
  card:                       # your own words in the README.md, DATASHEET.md, LICENSE and croissant.json of a release
    name: ""
    version: ""               # such as 1.0.0
    published: ""             # a day, such as 2026-01-31
    license: ""               # as Hugging Face writes it, for example cc-by-4.0
    license_text: ""          # the whole text, where the file LICENSE is to hold it
    holder: ""                # who holds the rights
    citation: ""              # BibTeX
    contact: ""
    url: ""                   # the page of the dataset, if it has one
    motivation: ""            # what it was made for, by whom, and who paid
    pictures: ""              # how they were obtained, and who is on them
    annotators: ""            # who they were, how they were instructed and paid
    uses: ""                  # what it is for, and what it is not to be used for
    limits: ""                # what you know to be missing or skewed
    maintenance: ""           # who mends what is wrong, and how a picture is taken out on request
"""
