from mode_connectivity.reporting.captions import caption_of, load_captions
from mode_connectivity.reporting.settings import ArtefactSettings


def test_every_artefact_has_a_caption():
    assert load_captions().keys() == ArtefactSettings.model_fields.keys()


def test_a_row_is_called_after_its_table():
    captions = load_captions()
    row = caption_of("garipov2018_table2_cifar10_vgg16", captions)
    assert row.title == "Table 2: loss and error along curves, cifar10_vgg16"
    assert row.caption == captions["garipov2018_table2"].caption
    assert caption_of("benton2021_figure_a4a", captions) == captions["benton2021_figure_a4a"]
