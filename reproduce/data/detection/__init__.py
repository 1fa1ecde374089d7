"""Images with boxes: annotations in VOC's and COCO's layout, and files of detections."""
