"""Every threshold of chapter 14, stated before the measurements that it judges.

Shares are of 1, sizes in GB (1e9 bytes), times in seconds. A figure of the article's own is marked
so; each of the others says in a line why it is what it is.
"""

# Quality
KEPT = 0.95  # the article's own: "95%+" of the quality
SOLVED = 0.95  # a task counts where the float model answers this share; half-learned ones drift
NEAR_LOSSLESS = 0.02  # rise of perplexity; Llama-2-7B to 13B is 11%, so a fifth of a size's step
GAIN = 0.01  # accuracy; about one standard error of 1,000 questions answered at 90%
PERPLEXITY_GAIN = 0.01  # relative; runs of one method with other seeds differ by less
INT8_LOSS = 0.02  # the article's own: "about 2%"
INT4_LOSS = 0.05  # the article's own: "about 5%"
QLORA_LOSS = 0.05  # the article says "low"; no more than it allows GPTQ at 4 bits
TEXT_LOSS = (0.02, 0.05)  # the article's own range for general text at 4 bits
REASONING_LOSS = (0.05, 0.15)  # the article's own range for reasoning and maths at 4 bits
STANDARD_ERRORS = 2.0  # a difference below two of them is what chance gives one time in twenty

# Memory
SAVING_POINTS = 0.01  # a saving given to half a percent (87.5) is off where it misses by one point
LARGE_SAVING_POINTS = 0.03  # for 7B: scales cost 0.5 to 1.5 points, a wide embedding 2 more
HEADLINE_SAVING = 0.70  # the article's 75%, less five points for scales and embeddings
SIZE_TOLERANCE = 0.05  # sizes given to two digits, of "7B" that are 6.7B to 7.6B
FORMULA_FACTOR = 1.2  # the article's own overhead
FORMULA_TOLERANCE = 0.10  # half of the overhead that the formula adds: beyond it, it says nothing
KV_RANGE = (1.0, 2.0)  # the article's own, GB for 1000 tokens of a 7B model
TOTAL_RANGE = (6.0, 8.0)  # the article's own, GB for 4-bit 7B with 4K of context
FITS_SHARE = 0.9  # of a device's memory: screen, driver and allocator take the rest
CONTEXT = 4096  # the article's own "4K"
SHORT_CONTEXT = 1000  # the least that is of use; the article's unit for the cache
EQUAL_MEMORY = 1.10  # the larger model at 4 bits may take a tenth more than the smaller at 16
MIXED_BITS = 0.05  # bits a weight; one weight in a hundred kept in 16 bit would cost 0.12
NF4_BITS = (4.0, 4.5)  # codes alone, to codes with a float32 absmax for each 64
ADAPTER_BITS = 16  # the article's own: adapters in 16 bit
CARDS = 4  # cards that one consumer machine can hold

# Speed
HEADLINE_SPEED = 2.0  # the article's own: "2-4x"
FASTER = 1.2  # a speed-up that a busy machine does not give by chance
CPU_SLOWDOWN = (10.0, 20.0)  # the article's own
SHORTEST, LONGEST = 30 * 60, 6 * 3600  # the article's "30 minutes to several hours"; several is six
LOAD_FASTER = 10  # loading saves the effort where it takes a tenth of quantizing or less

# Methods and tools
LAYER_LOSS = 0.9  # of rounding's: the error of a layer fell by a tenth or more
ENOUGH = 0.9  # share of what 128 sequences gain: the rest is not worth four times the text
CANARY_FOUND = 0.9  # share of broken models that an alert must notice
RECENT_YEARS = 1.0  # a tool without a release for longer does not know this year's models
LEARNED = 0.5  # share of answers that a fine-tuning must gain to count as one
RECOVERED = 0.05  # share of weights that come back exactly by chance, zeros above all
AGREE, AGREE_PARTLY = 0.9, 0.5  # share of situations in which two sets of rules choose the same
