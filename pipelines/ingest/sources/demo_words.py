"""Vocabulary of the demo bookshop: topics, each with three strands that a reader may prefer over the others.

A strand is four terms that recur in its books. Topics are in descending order of their number of books.
"""

from __future__ import annotations

_TOPICS = """
crime fiction
    detective, alibi, forged letters, cold case
    heist, safecracker, getaway driver, stolen diamonds
    courtroom, jury, defence lawyer, wrongful verdict
romance
    wedding, childhood sweetheart, village bakery, second chance
    duke, ballroom, scandal, arranged marriage
    online dating, best friends, city flat, awkward holiday
fantasy
    dragon, sorcerer, ancient prophecy, ruined kingdom
    fairy court, enchanted forest, bargain, changeling
    thieves guild, magic school, rune, apprentice mage
science fiction
    starship, alien contact, wormhole, lost colony
    android, artificial mind, memory implant, megacity
    time travel, paradox, parallel worlds, quantum lab
cooking
    sourdough, oven, butter, pastry chef
    curry, street food, chilli, tamarind
    fermentation, pickles, kimchi, cellar jars
self improvement
    morning routine, habit, focus, willpower
    mindfulness, breathing, calm, meditation
    negotiation, confidence, public speaking, career
horror
    haunted house, ghost, seance, locked attic
    vampire, graveyard, blood, castle
    cult, folk ritual, moor, scarecrow
war history
    trench, battalion, telegram, western front
    submarine, convoy, torpedo, north atlantic
    codebreaker, cipher machine, radio intercept, spy ring
children's adventure
    treasure map, pirate, island, parrot
    talking bear, picnic, red wellies, puddle
    summer camp, secret den, torch, raft
biography of musicians
    jazz trumpet, nightclub, improvisation, big band
    opera, soprano, conductor, premiere
    punk band, guitar, tour van, basement gig
travel
    night train, sleeper car, border crossing, station cafe
    desert caravan, oasis, camel, salt road
    island hopping, ferry, lagoon, harbour market
football
    goalkeeper, penalty, relegation, terrace songs
    coach, tactics board, pressing, transfer window
    youth academy, scout, muddy pitch, trial match
gardening
    roses, pruning, border, greenhouse
    vegetable patch, compost, tomatoes, seedlings
    wildflower meadow, pond, pollinators, hedgehog
psychology
    memory, experiment, attention, illusion
    childhood, attachment, therapy, family pattern
    decision, bias, gambling, intuition
astronomy
    telescope, nebula, dark sky, supernova
    mars rover, crater, landing, mission control
    black hole, gravity wave, galaxy, cosmology
popular mathematics
    prime numbers, proof, conjecture, infinity
    probability, dice, statistics, chance
    geometry, symmetry, knots, tiling
economics
    inflation, central bank, currency, crash
    trade, shipping container, tariff, factory
    inequality, wages, tax, welfare state
cycling
    mountain stage, peloton, climb, yellow jersey
    bicycle touring, panniers, tent, headwind
    frame building, steel tubes, workshop, brazing
alpine climbing
    glacier, summit, rope, avalanche
    rock face, bouldering, chalk, crux move
    base camp, oxygen, sherpa, monsoon
sailing
    regatta, spinnaker, skipper, tactics
    solo voyage, storm, self steering, southern ocean
    wooden boat, caulking, boatyard, mast
birdwatching
    warbler, binoculars, reed bed, dawn chorus
    falcon, falconry, hood, moorland
    seabird colony, puffin, cliff, ringing
knitting
    lace shawl, merino, needles, stitch pattern
    fair isle sweater, colourwork, steeks, shetland
    sock heel, hand dyeing, yarn shop, toe up
chess
    endgame, rook, zugzwang, study
    opening theory, gambit, sicilian, preparation
    grandmaster, tournament, blitz, world title
coffee and tea
    espresso, roaster, barista, crema
    tea garden, oolong, teapot, first flush
    coffee farm, harvest, altitude, cooperative
architecture
    concrete, brutalism, tower block, housing estate
    cathedral, vault, stone mason, flying buttress
    timber frame, joinery, passive house, straw bale
typography
    typeface, serif, letterpress, punchcutter
    street signs, lettering, brush, enamel
    book design, margin, grid, colophon
beekeeping
    hive, queen bee, swarm, honey
    varroa mite, winter cluster, smoker, frames
    wild bees, bumblebee, solitary nest, clover
vintage radio
    valve amplifier, shortwave, dial, transmitter
    morse code, call sign, antenna, ham operator
    transistor, soldering, circuit, repair bench
cartography
    atlas, coastline, surveyor, triangulation
    globe, engraver, sea chart, compass rose
    city map, transit diagram, street plan, legend
mushroom foraging
    chanterelle, forest floor, basket, spore print
    truffle, oak grove, trained dog, market
    mycelium, lichen, decay, symbiosis
lighthouses
    lamp, fog signal, keeper, fresnel lens
    shipwreck, reef, rescue, lifeboat
    remote rock, supply boat, isolation, logbook
steam railways
    locomotive, boiler, branch line, footplate
    model railway, signal box, scenery, gauge
    viaduct, tunnel, navvies, embankment
bookbinding
    leather, gilding, sewing frame, endpapers
    marbled paper, paste, decorated edges, pattern
    paper making, pulp, watermark, mould
meteorology
    tornado, storm chaser, supercell, radar
    cloud, barometer, forecast, weather station
    polar ice core, climate record, drill, expedition
paleontology
    dinosaur, fossil, dig site, badlands
    ammonite, jurassic cliff, hammer, tide
    mammoth, permafrost, tusk, ice age
puppetry
    marionette, strings, carved wood, travelling stage
    shadow theatre, screen, oil lamp, gamelan
    glove puppet, seaside booth, crocodile, slapstick
clockmaking
    pendulum, escapement, longcase, verge
    marine chronometer, longitude, navigator, brass
    wristwatch, mainspring, jewel bearing, loupe
glassblowing
    furnace, blowpipe, murano, molten glass
    stained glass, lead, rose window, cartoon
    lens grinding, microscope, prism, optician
moss and ferns
    fern fever, victorian, fronds, glasshouse
    moss, bog, sphagnum, peat
    terrarium, humidity, spores, shade
cave exploration
    cave diving, sump, line, rebreather
    stalactite, bat colony, chamber, limestone
    cave painting, ochre, torchlight, ice age hunter
"""


def _parse(text: str) -> dict[str, list[list[str]]]:
    topics: dict[str, list[list[str]]] = {}
    strands: list[list[str]] = []
    for line in text.strip().splitlines():
        if line.startswith(" "):
            strands.append(line.strip().split(", "))
        else:
            strands = topics[line] = []
    return topics


TOPICS = _parse(_TOPICS)  # topic: its strands: their terms
MOODS = ("quiet", "tense", "funny", "bittersweet", "sweeping", "unsettling", "warm", "precise")
FORMS = (
    "novel",
    "memoir",
    "guide",
    "history",
    "graphic novel",
    "collection of stories",
    "biography",
    "illustrated essay",
)
PLACES = (
    "Lisbon", "the Baltic coast", "Edinburgh", "rural Japan", "the Andes", "Cairo", "a Welsh valley", "Leipzig",
    "the Scottish islands", "Istanbul", "the Black Forest", "Nova Scotia", "Bombay", "the Camargue", "Patagonia",
)  # fmt: skip
PERIODS = (
    "in the 1890s",
    "between the wars",
    "in the long summer of 1976",
    "a generation ago",
    "today",
    "in the near future",
)
