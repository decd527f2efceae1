"""What student and teacher both speak: pictures as data URLs, keys, bounded concurrency."""
